"""The eighteen benchmarks of MMEVerse: what they are, how answers are written down, scored and put beside the published figures.

Scoring knows no model: it reads the line format {video_id, mode, answer, response} that Emotion-LLaMAv2's own evaluation writes.
"""
