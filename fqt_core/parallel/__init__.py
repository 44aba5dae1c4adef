"""Training in several processes: copies of a network that exchange gradients over ``torch.distributed``."""
