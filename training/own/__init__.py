"""nano taught on a data set of one's own, by whoever has a robot and no GPU.

CSV ─► clips ─► windows as the robot cuts them ─► tokens of the start's frozen encoders, kept in RUN ─┐
                                     nobody: drawn views, silence, sounds that are no speech ─────────┴► fusion, label head ─► RUN/model
What the start knew is held on to: what it says of nobody and what its language model reads are trained on beside the labels.
"""
