# ends: scene_error
class Evil(BaseException):
    def __str__(self): raise RuntimeError
    __cause__ = property(lambda self: self)
    __traceback__ = property(lambda self: 1 / 0)
    __class__ = property(lambda self: MemoryError)
raise Evil
