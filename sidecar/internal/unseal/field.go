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

// matrix is one of bytes of GF(256), row by row.
type matrix [][]byte

func newMatrix(rows, columns int) matrix {
	m := make(matrix, rows)
	for i := range m {
		m[i] = make([]byte, columns)
	}
	return m
}

func (m matrix) wipe() {
	for _, row := range m {
		clear(row)
	}
}

// reduce brings m into reduced row echelon form, and returns the column that
// each of its rows begins at. The others are zero.
func (m matrix) reduce() (pivots []int) {
	for column := range m[0] {
		top := len(pivots)
		at := top
		for at < len(m) && m[at][column] == 0 {
			at++
		}
		if at == len(m) {
			continue
		}
		m[top], m[at] = m[at], m[top]
		pivot := m[top]
		inverse := invert(pivot[column])
		for i := range pivot {
			pivot[i] = multiply(pivot[i], inverse)
		}
		for other, row := range m {
			factor := row[column]
			if other == top || factor == 0 {
				continue
			}
			for i, v := range pivot {
				row[i] ^= multiply(v, factor)
			}
		}
		pivots = append(pivots, column)
	}
	return pivots
}
