(module ;; the older encoding of exceptions, which wat2wasm does not know; see README.md
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (tag $e (param i32))
  (func $f (throw $e (i32.const 42)))
  (func (export "_start")
    (call $proc_exit (try (result i32) (do (call $f) (i32.const 1)) (catch $e)))))
