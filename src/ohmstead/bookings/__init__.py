"""Slots, bookings and the reservations that protect them."""
