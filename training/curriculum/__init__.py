"""Training of the published presets, perception then cognition: LoRA on the language model, projections and fusion beside it.

model folder ─► student ─┐
clip index ─► mixture ─► lessons (tokens, features) ─► loop (accelerate) ─► RUN/<stage>/model, a model folder that export/ takes
"""
