"""OK-VQA: questions that need knowledge from outside the picture (Marino et al., CVPR 2019), as LAVIS lists them."""

from .vqa import question_set

SET = question_set(
    "ok_vqa",
    "OK-VQA",
    {"train": ("okvqa_train.json",)},
    "answer",
    "give the folder that holds okvqa_train.json and MSCOCO's train2014",
)
