package unseal

// Arithmetic of GF(256) as Vault's shamir has it, modulo the polynomial 0x11b
// of AES (shamir/shamir.go). It looks nothing up by what it is given: the time
// it takes tells nothing of a key.

func multiply(a, b byte) (product byte) {
	for range 8 {
		product ^= a & -(b & 1)
		a, b = a<<1^0x1b&-(a>>7), b>>1
	}
	return product
}

// invert returns the inverse, a to the power of 254; that of 0 is 0.
func invert(a byte) byte {
	inverse := byte(1)
	for range 7 {
		a = multiply(a, a)
		inverse = multiply(inverse, a)
	}
	return inverse
}

// matrix is one of bytes of GF(256), kept row by row.
type matrix struct {
	cells   []byte
	columns int
}

func newMatrix(rows, columns int) matrix { return matrix{make([]byte, rows*columns), columns} }

func (m matrix) row(i int) []byte { return m.cells[i*m.columns : (i+1)*m.columns] }
func (m matrix) rows() int        { return len(m.cells) / m.columns }
func (m matrix) wipe()            { clear(m.cells) }

// reduce brings m into reduced row echelon form, and returns the column that
// each of its rows begins at. The others are zero.
func (m matrix) reduce() (pivots []int) {
	for column := range m.columns {
		top := len(pivots)
		at := top
		for at < m.rows() && m.row(at)[column] == 0 {
			at++
		}
		if at == m.rows() {
			continue
		}
		pivot := m.row(top)
		for i, v := range m.row(at) {
			m.row(at)[i], pivot[i] = pivot[i], v
		}
		factor := invert(pivot[column])
		for i := range pivot {
			pivot[i] = multiply(pivot[i], factor)
		}
		for other := range m.rows() {
			if other != top {
				m.subtract(other, m.row(other)[column], pivot)
			}
		}
		pivots = append(pivots, column)
	}
	return pivots
}

// subtract takes factor times a row away from another.
func (m matrix) subtract(from int, factor byte, row []byte) {
	if factor == 0 {
		return
	}
	for i, v := range row {
		m.row(from)[i] ^= multiply(v, factor)
	}
}
