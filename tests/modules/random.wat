(module ;; draws 16 random bytes twice and writes them, raw
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\20\00\00\00") ;; an iovec: 32 bytes at 16
  (func (export "_start")
    (if (call $random_get (i32.const 16) (i32.const 16)) (then unreachable))
    (if (call $random_get (i32.const 32) (i32.const 16)) (then unreachable))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))))
