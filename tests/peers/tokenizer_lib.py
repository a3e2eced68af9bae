"""The tokenizer of libhone through ctypes, for comparisons with its peers."""
import ctypes
import os
import subprocess
import tempfile

SPECIAL = 1


class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("message", ctypes.c_char * 1000)]


class Span(ctypes.Structure):
    _fields_ = [("begin", ctypes.c_size_t), ("end", ctypes.c_size_t)]


class Tokens(ctypes.Structure):
    _fields_ = [("id", ctypes.POINTER(ctypes.c_int32)), ("begin", ctypes.POINTER(ctypes.c_uint32)),
                ("end", ctypes.POINTER(ctypes.c_uint32)), ("n", ctypes.c_size_t), ("capacity", ctypes.c_size_t)]


def load(build):
    """Links the layers' static libraries of a build folder (without sanitizers) into one that Python can open."""
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.join(here, "..", "..")
    out = os.path.join(tempfile.mkdtemp(), "libhone_text.so")
    archives = [os.path.join(build, f"libhone_{x}.a") for x in ("text", "format", "base")]
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-D_GNU_SOURCE", "-I", os.path.join(root, "include"),
                    "-I", os.path.join(root, "src"), "-o", out, os.path.join(here, "drivers", "tokenizer_shim.c"),
                    "-Wl,--whole-archive", *archives, "-Wl,--no-whole-archive", "-ljansson", "-lpcre2-8", "-lutf8proc", "-lyaml", "-lm",
                    "-pthread"], check=True)
    lib = ctypes.CDLL(out)
    lib.hone_tokenizer_piece.restype = ctypes.c_void_p
    lib.hone_tokenizer_hash.restype = ctypes.c_uint64
    lib.shim_open.restype = ctypes.c_void_p
    lib.hone_free.argtypes = [ctypes.c_void_p]
    return lib


class Tokenizer:
    def __init__(self, lib, path):
        self.lib, self.t = lib, ctypes.c_void_p()
        self.check(lambda e: lib.hone_tokenizer_open(ctypes.byref(self.t), os.fsencode(path), ctypes.byref(e)))

    def check(self, call):
        e = Error()
        if call(e):
            raise ValueError(e.message.decode())

    def encode(self, text, flags=0, plain=(), offsets=False):
        data, tokens = text if isinstance(text, bytes) else text.encode(), Tokens()
        spans = (Span * len(plain))(*plain) if plain else None
        self.check(lambda e: self.lib.hone_tokenizer_encode(self.t, ctypes.byref(tokens), data, ctypes.c_size_t(len(data)), spans,
                                                            ctypes.c_size_t(len(plain)), flags, ctypes.byref(e)))
        ids = tokens.id[:tokens.n] if tokens.n else []
        where = list(zip(tokens.begin[:tokens.n], tokens.end[:tokens.n])) if offsets and tokens.n else []
        self.lib.hone_tokens_clear(ctypes.byref(tokens))
        return (ids, where) if offsets else ids

    def decode(self, ids, skip=False):
        out, n = ctypes.c_void_p(), ctypes.c_size_t()
        array = (ctypes.c_int32 * max(len(ids), 1))(*ids)
        self.check(lambda e: self.lib.hone_tokenizer_decode(self.t, ctypes.byref(out), ctypes.byref(n), array,
                                                            ctypes.c_size_t(len(ids)), skip, ctypes.byref(e)))
        text = ctypes.string_at(out, n.value)
        self.lib.hone_free(out)
        return text.decode()

    def piece(self, token):
        n = ctypes.c_size_t()
        p = self.lib.hone_tokenizer_piece(self.t, token, ctypes.byref(n))
        return ctypes.string_at(p, n.value) if p else None

    def vocab_size(self):
        return self.lib.hone_tokenizer_vocab_size(self.t)

    def hash(self):
        return self.lib.hone_tokenizer_hash(self.t)

    def close(self):
        self.lib.hone_tokenizer_close(self.t)
