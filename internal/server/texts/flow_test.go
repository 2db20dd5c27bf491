package texts

import (
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"slices"
	"testing"

	"golang.org/x/tools/go/packages"
)

// flow finds the problem codes of the program: every constant string that can reach a struct field named Code, a parameter
// named code or a result named code, through variables, fields, parameters, results and literals. It follows the program's
// own sources backwards from there; where a value comes from outside (a database row, an answer read from the network) there
// is nothing to find.
type flow struct {
	fset  *token.FileSet
	into  map[any][]expr // what is assigned to a variable, field or parameter (types.Object), or returned (result)
	calls []call
}

// expr is an expression together with the types of its package.
type expr struct {
	ast.Expr
	info *types.Info
}

// result is the i-th result of a function (*types.Func) or of a function literal.
type result struct {
	of any
	i  int
}

// call is a place where a code is given together with params.
type call struct {
	code, params expr
	pairs        []ast.Expr // variadic key, value...
}

// use is what is known of a code.
type use struct {
	at        token.Position
	fixed     []string // the params that every place gives which names the code itself
	isFixed   bool
	loose     []string // those that some place gives which passes it on
	anyParams bool     // some place passes params that are made elsewhere
}

func (u *use) given() []string {
	if u.isFixed {
		return u.fixed
	}
	return u.loose
}

func sources(t *testing.T, patterns ...string) *flow {
	t.Helper()
	pkgs, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedImports | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo,
		Dir:  "../../..",
	}, patterns...)
	if err != nil {
		t.Fatal(err)
	}
	f := &flow{into: map[any][]expr{}}
	for _, p := range pkgs {
		if len(p.Errors) > 0 { // the others mostly follow from the first
			t.Errorf("%s: %v", p.PkgPath, p.Errors[0])
		}
		f.fset = p.Fset
		for _, file := range p.Syntax {
			f.read(file, p.TypesInfo)
		}
	}
	return f
}

// read notes everything in a file that moves a value.
func (f *flow) read(file *ast.File, info *types.Info) {
	var functions []any // the enclosing ones, innermost last
	var stack []ast.Node
	ast.Inspect(file, func(n ast.Node) bool {
		if n == nil {
			switch stack[len(stack)-1].(type) {
			case *ast.FuncDecl, *ast.FuncLit:
				functions = functions[:len(functions)-1]
			}
			stack = stack[:len(stack)-1]
			return true
		}
		stack = append(stack, n)
		switch n := n.(type) {
		case *ast.FuncDecl:
			functions = append(functions, info.Defs[n.Name])
			f.namedResults(info.Defs[n.Name], n.Type, info)
		case *ast.FuncLit:
			functions = append(functions, n)
			f.namedResults(n, n.Type, info)
		case *ast.ReturnStmt:
			for i, e := range n.Results {
				f.flows(result{functions[len(functions)-1], i}, e, info)
			}
		case *ast.AssignStmt:
			for i, l := range n.Lhs {
				f.assign(object(l, info), i, n.Rhs, info)
			}
		case *ast.ValueSpec:
			for i, name := range n.Names {
				f.assign(info.Defs[name], i, n.Values, info)
			}
		case *ast.RangeStmt:
			if n.Value != nil {
				f.flows(object(n.Value, info), n.X, info)
			}
		case *ast.CompositeLit:
			f.literal(n, info)
		case *ast.CallExpr:
			f.call(n, info)
		}
		return true
	})
}

func (f *flow) flows(dst any, e ast.Expr, info *types.Info) {
	if dst != nil && dst != types.Object(nil) {
		f.into[dst] = append(f.into[dst], expr{e, info})
	}
}

func (f *flow) assign(dst types.Object, i int, values []ast.Expr, info *types.Info) {
	if dst == nil || len(values) == 0 {
		return
	}
	if i < len(values) {
		f.flows(dst, values[i], info)
		return
	}
	if c, ok := values[0].(*ast.CallExpr); ok { // a, code := f()
		if fn := callee(c, info); fn != nil {
			f.flows(dst, &resultExpr{Expr: c, result: result{fn, i}}, info)
		}
	}
}

// resultExpr stands for one result of a call that has several.
type resultExpr struct {
	ast.Expr
	result result
}

func (f *flow) namedResults(fn any, ft *ast.FuncType, info *types.Info) {
	if ft.Results == nil {
		return
	}
	i := 0
	for _, field := range ft.Results.List {
		for _, name := range field.Names {
			f.flows(result{fn, i}, name, info)
			if name.Name == "code" {
				f.flows(info.Defs[name], &resultExpr{Expr: name, result: result{fn, i}}, info)
			}
			i++
		}
	}
}

func (f *flow) literal(lit *ast.CompositeLit, info *types.Info) {
	st, ok := under(info.TypeOf(lit)).(*types.Struct)
	if !ok {
		return
	}
	var c call
	for i, e := range lit.Elts {
		field, value := st.Field(min(i, st.NumFields()-1)), e
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			field, _ = info.Uses[kv.Key.(*ast.Ident)].(*types.Var)
			value = kv.Value
		}
		if field == nil {
			continue
		}
		f.flows(field.Origin(), value, info)
		switch {
		case isCode(field):
			c.code = expr{value, info}
		case field.Name() == "Params":
			c.params = expr{value, info}
		}
	}
	if c.code.Expr != nil {
		f.calls = append(f.calls, c)
	}
}

func (f *flow) call(n *ast.CallExpr, info *types.Info) {
	fn := callee(n, info)
	if fn == nil {
		return
	}
	params := fn.Signature().Params()
	var c call
	for i, arg := range n.Args {
		p := params.At(min(i, params.Len()-1))
		f.flows(p, arg, info)
		switch {
		case c.code.Expr != nil && fn.Signature().Variadic() && i >= params.Len()-1:
			if n.Ellipsis.IsValid() {
				c.params = expr{arg, info}
			} else {
				c.pairs = append(c.pairs, arg)
			}
		case c.code.Expr != nil && p.Name() == "params":
			c.params = expr{arg, info}
		case isCode(p):
			c.code = expr{arg, info}
		}
	}
	if c.code.Expr != nil {
		f.calls = append(f.calls, c)
	}
}

// isCode says whether a field, parameter or result is for codes.
func isCode(v *types.Var) bool {
	b, ok := under(v.Type()).(*types.Basic)
	return ok && b.Kind() == types.String && (v.Name() == "Code" && v.IsField() || v.Name() == "code")
}

// find gives every code with what is known of it.
func (f *flow) find() map[string]*use {
	found := map[string]*use{}
	at := func(code string, e expr) *use {
		if found[code] == nil {
			found[code] = &use{at: f.fset.Position(e.Pos())}
		}
		return found[code]
	}
	for dst, values := range f.into {
		if v, ok := dst.(*types.Var); !ok || !isCode(v) {
			continue
		}
		for _, e := range values {
			for code, where := range f.constants(e, map[any]bool{}) {
				at(code, where)
			}
		}
	}
	for _, c := range f.calls {
		keys, known := c.keys()
		for code, where := range f.constants(c.code, map[any]bool{}) {
			u := at(code, where)
			switch {
			case !known:
				u.anyParams = true
			case c.code.info.Types[c.code.Expr].Value == nil:
				u.loose = append(u.loose, keys...)
			case !u.isFixed:
				u.isFixed, u.fixed = true, keys
			default:
				u.fixed = slices.DeleteFunc(slices.Clone(u.fixed), func(k string) bool { return !slices.Contains(keys, k) })
			}
		}
	}
	return found
}

// keys are the names of the params given; not known when they are made elsewhere.
func (c call) keys() (keys []string, known bool) {
	for i := 0; i < len(c.pairs); i += 2 {
		if v := c.code.info.Types[c.pairs[i]].Value; v != nil {
			keys = append(keys, constant.StringVal(v))
		}
	}
	switch p := c.params.Expr.(type) {
	case nil:
		return keys, true
	case *ast.CompositeLit:
		for _, e := range p.Elts {
			if v := c.params.info.Types[e.(*ast.KeyValueExpr).Key].Value; v != nil {
				keys = append(keys, constant.StringVal(v))
			}
		}
		return keys, true
	case *ast.Ident:
		return keys, p.Name == "nil"
	}
	return nil, false
}

// constants are the strings that e can be, with the place where each stands.
func (f *flow) constants(e expr, seen map[any]bool) map[string]expr {
	out := map[string]expr{}
	add := func(more map[string]expr) {
		for k, v := range more {
			out[k] = v
		}
	}
	follow := func(src any) {
		if src == nil || seen[src] {
			return
		}
		seen[src] = true
		for _, from := range f.into[src] {
			add(f.constants(from, seen))
		}
	}
	if r, ok := e.Expr.(*resultExpr); ok {
		follow(r.result)
		return out
	}
	if v := e.info.Types[e.Expr].Value; v != nil {
		if v.Kind() == constant.String && constant.StringVal(v) != "" {
			out[constant.StringVal(v)] = e
		}
		return out
	}
	switch n := e.Expr.(type) {
	case *ast.ParenExpr:
		add(f.constants(expr{n.X, e.info}, seen))
	case *ast.Ident, *ast.SelectorExpr:
		if o := object(n, e.info); o != nil {
			follow(o)
		}
	case *ast.IndexExpr:
		add(f.constants(expr{n.X, e.info}, seen))
	case *ast.CompositeLit: // a table of codes
		for _, el := range n.Elts {
			if kv, ok := el.(*ast.KeyValueExpr); ok {
				el = kv.Value
			}
			add(f.constants(expr{el, e.info}, seen))
		}
	case *ast.CallExpr:
		fn := callee(n, e.info)
		if fn != nil && len(f.into[result{fn, 0}]) > 0 {
			follow(result{fn, 0})
			break
		}
		for _, arg := range n.Args { // a conversion, cmp.Or and the like
			add(f.constants(expr{arg, e.info}, seen))
		}
	}
	return out
}

// object is the variable or field that an expression names, nil when it names none.
func object(e ast.Expr, info *types.Info) types.Object {
	var o types.Object
	switch e := e.(type) {
	case *ast.Ident:
		o = info.ObjectOf(e)
	case *ast.SelectorExpr:
		o = info.ObjectOf(e.Sel)
	case *ast.IndexExpr: // codes[i] = ...
		return object(e.X, info)
	}
	if v, ok := o.(*types.Var); ok {
		return v.Origin()
	}
	return nil
}

func callee(c *ast.CallExpr, info *types.Info) *types.Func {
	fun := ast.Unparen(c.Fun)
	if ix, ok := fun.(*ast.IndexExpr); ok { // an instantiated generic
		fun = ix.X
	}
	var o types.Object
	switch fun := fun.(type) {
	case *ast.Ident:
		o = info.Uses[fun]
	case *ast.SelectorExpr:
		o = info.Uses[fun.Sel]
	}
	if fn, ok := o.(*types.Func); ok {
		return fn.Origin()
	}
	return nil
}

func under(t types.Type) types.Type {
	if t == nil {
		return nil
	}
	if p, ok := t.Underlying().(*types.Pointer); ok {
		t = p.Elem()
	}
	return t.Underlying()
}
