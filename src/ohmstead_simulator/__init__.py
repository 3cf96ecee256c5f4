"""Simulated charge points that speak OCPP 1.6J over real sockets.

They serve the demo, load runs and tests, and can be pointed at any central system.
They are built on the PyPI package `ocpp`, so that an independent implementation of the
protocol talks to the server. Nothing of the server is imported here.
"""
