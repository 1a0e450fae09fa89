"""What every process of these tests needs, imported once in the process that they are forked from."""

import torch

import slt_pipeline.cli.main
import slt_pipeline.stages.extract
import slt_pipeline.stages.gloss2text_train
import slt_pipeline.stages.joint_train
import slt_pipeline.stages.translate_train
import slt_pipeline.stages.visual_pretrain
import slt_pipeline.stages.visual_train  # noqa: F401

torch.set_num_threads(1)
