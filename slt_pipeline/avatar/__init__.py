"""Avatar, the synthetic signer: signing video with glosses and German, made from a seed."""

from slt_pipeline.avatar.synthesize import SynthReport, synthesize

__all__ = ["SynthReport", "synthesize"]
