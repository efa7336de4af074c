"""Annotations of scans: SQA3D, ScanQA, Scan2Cap, ScanRefer, Multi3DRefer, and your own."""
