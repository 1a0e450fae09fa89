"""The networks of the published systems. Here, in every file of this room, one letter of a shape has one meaning.

B clips, rows of a batch. T frames; H, W their height and width in pixels.
S steps: what S3D makes of a clip, a quarter of its frames; of an encoder input, the suffix included; of glosses, L.
C channels of S3D. R width of the gloss representation, inside the visual head. K gloss classes, class 0 the CTC blank.
D width of a tap or stream: C, R or K. M width of mBART.
L glosses of a sequence. G names that have a gloss vector. N target positions. V pieces of the text vocabulary.
"""
