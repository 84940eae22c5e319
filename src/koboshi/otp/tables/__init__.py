"""Tables: rows by key, in memory with one owner, or on disk. After OTP's ets and dets."""
