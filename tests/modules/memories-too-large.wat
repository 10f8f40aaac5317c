(module (memory 1) (memory 30000) (memory 30000 40000) (func (export "_start")))
