"""A-OKVQA: questions with ten direct answers (Schwenk et al., ECCV 2022), as LAVIS lists them."""

from .vqa import question_set

SET = question_set(
    "aok_vqa",
    "A-OKVQA",
    {"train": ("aokvqa_v1p0_train.json",)},
    "direct_answers",
    "give the folder that holds aokvqa_v1p0_train.json and MSCOCO's pictures",
    licence="Apache-2.0; pictures: Flickr's terms",
)
