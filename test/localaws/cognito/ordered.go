package cognito

import (
	"iter"
	"slices"
	"sort"
)

// ordered is a sorted list with binary-search seeks, kept in blocks so that an
// insertion moves a block and not the list: a million users are a few thousand
// blocks. Items must be distinct under less.
type ordered[T any] struct {
	less   func(a, b T) bool
	blocks [][]T // none empty
	n      int
}

const blockSize = 512

// block is the index of the block that holds or would hold v.
func (o *ordered[T]) block(v T) int {
	i := sort.Search(len(o.blocks), func(i int) bool {
		b := o.blocks[i]
		return !o.less(b[len(b)-1], v)
	})
	return min(i, len(o.blocks)-1)
}

func (o *ordered[T]) insert(v T) {
	o.n++
	if len(o.blocks) == 0 {
		o.blocks = [][]T{{v}}
		return
	}
	i := o.block(v)
	b := o.blocks[i]
	at := sort.Search(len(b), func(j int) bool { return !o.less(b[j], v) })
	b = slices.Insert(b, at, v)
	o.blocks[i] = b
	if len(b) > blockSize {
		half := len(b) / 2
		o.blocks[i] = slices.Clone(b[:half])
		o.blocks = slices.Insert(o.blocks, i+1, slices.Clone(b[half:]))
	}
}

func (o *ordered[T]) remove(v T) {
	if len(o.blocks) == 0 {
		return
	}
	i := o.block(v)
	b := o.blocks[i]
	at := sort.Search(len(b), func(j int) bool { return !o.less(b[j], v) })
	if at == len(b) || o.less(v, b[at]) {
		return
	}
	o.n--
	if len(b) == 1 {
		o.blocks = slices.Delete(o.blocks, i, i+1)
		return
	}
	o.blocks[i] = slices.Delete(b, at, at+1)
}

// from iterates over the items for which reached is true; reached must be false
// up to some item and true from there on.
func (o *ordered[T]) from(reached func(T) bool) iter.Seq[T] {
	return func(yield func(T) bool) {
		i := sort.Search(len(o.blocks), func(i int) bool {
			b := o.blocks[i]
			return reached(b[len(b)-1])
		})
		for ; i < len(o.blocks); i++ {
			b := o.blocks[i]
			j := sort.Search(len(b), func(j int) bool { return reached(b[j]) })
			for ; j < len(b); j++ {
				if !yield(b[j]) {
					return
				}
			}
		}
	}
}

func (o *ordered[T]) all() iter.Seq[T] { return o.from(func(T) bool { return true }) }
