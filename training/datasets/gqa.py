"""GQA: questions made from scene graphs, balanced (Hudson and Manning, CVPR 2019), as LAVIS lists them."""

from .vqa import question_set

SET = question_set(
    "gqa",
    "GQA",
    {"train": ("train_balanced_questions.json",)},
    "answer",
    "give the folder that holds train_balanced_questions.json and gqa_images",
    licence="CC BY 4.0; pictures: Visual Genome",
)
