"""The exact prompts of the published checkpoints: interface constants, for a checkpoint answers as it was trained only to these strings.

Sources, word for word: github.com/ZebangCheng/Emotion-LLaMA (v1: minigpt4/datasets/datasets/first_face.py, app.py) and
github.com/ooochen-30/Emotion-LLaMA-v2 (v2: mer_datasets.py, mer_datasets_ft.py, mer_eval_datasets.py, app.py), both BSD-3-Clause.

    v1   <s>[INST] <video>[scene]</video> <feature>[utterances, sound, CLS]</feature> The person in video says: ….  [task] …  [/INST]
    v2   <s>[INST] <Vid>[prefix]</Vid> The person in video says: ….  [task] …  [/INST]

Where nobody said anything the sentence is left out, as in the authors' demo. What their inference code does otherwise, a second <s>, and
in v1 all tokens at <VideoHere> while the word <FeatureHere> is read as text, is there under the names that end in `_published`.
Label lists of the training sets: `LABEL_SETS`. What is asked with each task: `TASKS`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Tokenizer

from ..model.presets import Preset
from .prompt import QUESTION_CHARACTERS, TRANSCRIPT_CHARACTERS, Prompt, clean_text, first_tokens, plain_ids, special_id

SENTENCE = "The person in video says: {text}.  "
V1_EMOTION = "Please determine which emotion label in the video represents: {labels}."
V1_REASON = (
    "What are the facial expressions and vocal tone used in the video? What is the intended meaning behind his words? Which "
    "emotion does this reflect?"
)
V2_EMOTION = (
    "You are a helpful assistant specialized in multimodal emotion recognition. Given the input video and audio, your task is to "
    "identify the emotion expressed by the person or people in the video. Your output must be only one emotion label strictly "
    "chosen from the following list: {labels}. Please ensure that all predicted labels come only from this list."
)
V2_MULTI_LABEL = (
    "You are a helpful assistant specialized in multimodal emotion recognition. Given the input video and audio, your task is to "
    "identify the emotion expressed by the person or people in the video. Your output must be one or more emotion labels strictly "
    "chosen from the following list: {labels}. Please ensure that all predicted labels come only from this list."
)
V2_SENTIMENT = (
    "You are a helpful assistant specialized in multimodal sentiment analysis. Given the input video and audio, your task is to "
    "identify the sentiment expressed by the person or people in the video. Your output must be only one sentiment label strictly "
    "chosen from the following list: {labels}. Please ensure that all predicted labels come only from this list."
)
V2_INTENT = (
    "You are a helpful assistant specialized in **multimodal intent recognition**. Given the input video and audio, your task is "
    "to identify the **speaker's communicative intent** based on both visual and auditory information. Your output must be **only "
    "one intent label**, strictly chosen from the following list: {labels}. Please ensure that all predicted labels come only from "
    "this list."
)
V2_REASON = "Why does the person in the video feel this way? Please provide evidence from the video."
V2_THINK = (
    "The possible emotions are: {labels}. Analyze the person's emotional state in the video by combining visual, auditory, and "
    "textual clues. Provide your reasoning in <think> and your final label in <answer>."
)
V2_AUDIO = (
    "Based on the audio input, what can you infer about the speaker's emotional state? Please consider tone, intonation, pitch, "
    "and speech rate in your analysis."
)
V2_IMAGE = (
    "What emotional state might the person in the image be experiencing? Please support your answer using visual cues such as "
    "facial expression, body posture, and gaze direction."
)

LABEL_SETS = {
    "demo": ("anger", "disgust", "fear", "happy", "neutral", "sad", "surprise"),
    "mer2023": ("angry", "happy", "neutral", "sad", "surprise", "worried"),
    "meld": ("anger", "disgust", "fear", "joy", "neutral", "sad", "surprise"),
    "caer": ("anger", "disgust", "fear", "happy", "neutral", "sad", "surprise"),
    "dfew": ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"),
    "e3": ("angry", "disgusted", "happy", "sad", "sarcastic", "scared", "shy", "surprised"),
    "mafw": (
        *("anger", "anxiety", "contempt", "disappointment", "disgust", "fear"),
        *("happiness", "helplessness", "neutral", "sadness", "surprise"),
    ),
    "emotion_llama": ("happy", "sad", "neutral", "angry", "worried", "surprise", "fear", "contempt", "doubt"),
}
"""Names for `labels`, each list in the order its published prompt has it."""


@dataclass(frozen=True)
class Style:
    """One checkpoint's way to be asked.

    opening       before the prefix, after <s>
    after_scene   inside the prefix, after the scene's tokens; empty: the prefix is of one piece
    closing       after the prefix
    tasks         task → instruction, {labels} standing for the list
    """

    opening: str
    after_scene: str
    closing: str
    tasks: dict[str, str]
    begins: int = 1


TASKS_V1 = {"emotion": V1_EMOTION, "reason": V1_REASON}
TASKS_V2 = {
    "emotion": V2_EMOTION,
    "reason": V2_REASON,
    "think": V2_THINK,
    "sentiment": V2_SENTIMENT,
    "intent": V2_INTENT,
    "multi-label": V2_MULTI_LABEL,
    "audio": V2_AUDIO,
    "image": V2_IMAGE,
}
STYLES = {
    "emotion_llama": Style("[INST] <video>", "</video> <feature>", "</feature> ", TASKS_V1),
    "emotion_llama_published": Style("[INST] <video>", "", "</video> <feature><FeatureHere></feature> ", TASKS_V1, begins=2),
    "emotion_llama_v2": Style("[INST] <Vid>", "", "</Vid> ", TASKS_V2),
    "emotion_llama_v2_published": Style("[INST] <Vid>", "", "</Vid> ", TASKS_V2, begins=2),
}


class PublishedPrompts:
    """Prompts of one published checkpoint. ValueError when the tokenizer lacks the language model's own marks."""

    def __init__(self, style: Style, tokenizer: Tokenizer, preset: Preset) -> None:
        self._style, self._tokenizer, self._labels = style, tokenizer, preset.labels
        self.end = special_id(tokenizer, preset.llama.eos_token)
        begin = special_id(tokenizer, preset.llama.bos_token)
        marks = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        self.unsayable = frozenset(marks | {begin}) - {self.end}
        self.after_scene = tuple(plain_ids(tokenizer, style.after_scene)) if style.after_scene else ()
        self.names_label = False
        self._before = (*[begin] * style.begins, *plain_ids(tokenizer, style.opening))

    def build(self, task: str, label: str = "", transcript: str = "", question: str = "") -> Prompt:
        """Ids of one prompt; arguments as `build_prompt`'s, `label` has no place in these. KeyError for an unknown task."""
        asked = self._style.tasks[task].format(labels=", ".join(self._labels))
        own = first_tokens(self._tokenizer, clean_text(question, QUESTION_CHARACTERS))
        said = first_tokens(self._tokenizer, clean_text(transcript, TRANSCRIPT_CHARACTERS))
        sentence, gap = (SENTENCE.format(text=said), "  ") if said else ("", " ")
        text = f"{self._style.closing}{sentence}[{task}] {own or asked}{gap}[/INST]"
        return Prompt(self._before, tuple(plain_ids(self._tokenizer, text)))
