"""What a confined process must not reach. Each module says in its first line what it tries.

`attempt()` tells whether it worked: it raises nothing and returns nothing false. Where it needs
something that a machine may lack, `missing()` says what is missing; where it leaves something
outside of the checkout, `clean()` takes that away.
"""
