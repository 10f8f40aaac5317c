(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (func (export "_start") (call $exit (i32x4.extract_lane 0 (i32x4.relaxed_trunc_f32x4_s (f32x4.relaxed_madd (v128.const f32x4 20 1 1 1) (v128.const f32x4 2 1 1 1) (v128.const f32x4 2 1 1 1)))))))
