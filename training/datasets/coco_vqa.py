"""VQA v2: questions on pictures of MSCOCO with ten answers each (Goyal et al., CVPR 2017), as LAVIS lists them; val is trained on too."""

from .vqa import question_set

SET = question_set(
    "coco_vqa",
    "VQA v2",
    {"train": ("vqa_train.json",), "val": ("vqa_val.json",)},
    "answer",
    "give the folder that holds vqa_train.json and MSCOCO's train2014",
)
