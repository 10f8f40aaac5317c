(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory $a 1) (memory $b 1) (func (export "_start") (i32.store $b (i32.const 0) (i32.const 42)) (memory.copy $a $b (i32.const 8) (i32.const 0) (i32.const 4)) (call $exit (i32.load $a (i32.const 8)))))
