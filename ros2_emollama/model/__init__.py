"""The one definition of the network. `presets`, `graphs`, `folder`, `pixels` and `logmel` need no torch; the rest is torch."""
