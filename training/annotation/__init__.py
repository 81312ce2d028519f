"""What is said of a clip, by agents: action units, what is seen, what is heard, and one that puts them together; and people who check it.

    OpenFace CSV or landmarks ─► AU agent ────┐
    frames ────────────────────► visual agent ┼─► fusing agent ─► annotations.jsonl ─► MMEVerse's CSV columns
    sound ─────────────────────► audio agent ─┘                                     └► check sheet ─► agreement
Agents are language models behind the OpenAI-compatible HTTP API, or, where none is named, measures of this package put into words.
"""
