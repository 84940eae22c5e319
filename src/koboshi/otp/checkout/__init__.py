"""A checkout pool: workers that are lent to one owner at a time, after poolboy."""
