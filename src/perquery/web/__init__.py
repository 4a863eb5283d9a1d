"""The pages that a person sees: rendered here, one stylesheet, small scripts, nothing from anywhere else."""
