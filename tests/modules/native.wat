(module ;; tail calls, extended constants, several memories, atomics and relaxed SIMD in one module, for native code
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (global $two i32 (i32.sub (i32.const 6) (i32.const 4)))
  (memory $one 1)
  (memory $other 1)
  (memory $shared 1 1 shared)
  (func $count (param $left i32) (param $sum i32) (result i32)
    (if (i32.eqz (local.get $left)) (then (return (local.get $sum))))
    (return_call $count (i32.sub (local.get $left) (i32.const 1)) (i32.add (local.get $sum) (global.get $two))))
  (func (export "_start")
    (i32.store $other (i32.const 8) (call $count (i32.const 10) (i32.const 0))) ;; 20
    (drop (i32.atomic.rmw.add $shared (i32.const 0) (i32.load $other (i32.const 8))))
    (i32.store $one (i32.const 0) (i32x4.extract_lane 0 (i32x4.relaxed_trunc_f32x4_s (f32x4.relaxed_madd
      (v128.const f32x4 20 1 1 1) (v128.const f32x4 1 1 1 1) (v128.const f32x4 2 1 1 1))))) ;; 22
    (call $proc_exit (i32.add (i32.load $one (i32.const 0)) (i32.atomic.load $shared (i32.const 0))))))
