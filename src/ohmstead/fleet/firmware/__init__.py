"""Firmware images and the updates to them."""
