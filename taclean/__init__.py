"""TA-Cleaner: fine-tuning defences against backdoored CLIP models, attacks and evaluation."""
