"""Who lost the blocks: contents grouped, decoded, and connected with drivers that came and went."""
