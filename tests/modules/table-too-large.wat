(module (table 100000000 funcref) (func (export "_start")))
