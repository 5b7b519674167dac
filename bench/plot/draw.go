package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A panel's size on paper.
const (
	width  = 22 * vg.Centimeter
	height = 13 * vg.Centimeter
	margin = 5 * vg.Millimeter
)

// colors can be told apart by those who see fewer of them, too (Okabe and Ito).
var colors = []color.Color{
	color.RGBA{0, 114, 178, 255},
	color.RGBA{213, 94, 0, 255},
	color.RGBA{0, 158, 115, 255},
	color.RGBA{204, 121, 167, 255},
	color.RGBA{230, 159, 0, 255},
	color.RGBA{86, 180, 233, 255},
}

var gray = color.Gray{Y: 160}

// render draws the panels, one below the other.
func render(panels []panel) ([]byte, error) {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	canvas := vgsvg.New(width, height*vg.Length(len(panels)))
	page := draw.NewCanvas(canvas, width, height*vg.Length(len(panels)))
	page.SetColor(color.White) // a forge may show it on black
	page.Fill(page.Rectangle.Path())
	for i, p := range panels {
		drawn, err := p.plot()
		if err != nil {
			return nil, err
		}
		below := height * vg.Length(len(panels)-1-i)
		drawn.Draw(draw.Crop(page, margin, -margin, below+margin, below+height-margin-page.Max.Y))
	}
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return nil, err
	}
	return bytes.ReplaceAll(out.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,sans-serif;")), nil
}

// plot is the panel on logarithmic axes, with a line for what is in proportion
// to the size, from the first point of all.
func (p panel) plot() (*plot.Plot, error) {
	to := plot.New()
	to.Title.Text = p[0].Subject
	to.X.Label.Text, to.Y.Label.Text = p[0].XLabel, p[0].YLabel
	to.X.Scale, to.Y.Scale = plot.LogScale{}, plot.LogScale{}
	to.X.Tick.Marker, to.Y.Tick.Marker = plot.TickerFunc(decades), plot.TickerFunc(decades)
	to.Legend.Top, to.Legend.Left = true, true
	to.Legend.Padding = vg.Millimeter
	to.Legend.YOffs = -vg.Millimeter
	to.Legend.XOffs = vg.Millimeter
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = color.Gray{Y: 225}, color.Gray{Y: 225}
	to.Add(grid)
	minX, maxX, minY, maxY := p.bounds()
	for i, s := range p {
		points := make(plotter.XYs, len(s.Points))
		for j, at := range s.Points {
			points[j] = plotter.XY{X: at.X, Y: at.Y}
		}
		line, marks, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, fmt.Errorf("series %q: %w", s.Name, err)
		}
		line.Color = colors[i%len(colors)]
		line.Width = vg.Points(1.5)
		marks.Color = line.Color
		marks.Shape = draw.CircleGlyph{}
		to.Add(line, marks)
		to.Legend.Add(s.Name, line, marks)
	}
	proportion, err := plotter.NewLine(plotter.XYs{{X: minX, Y: minY}, {X: maxX, Y: minY * maxX / minX}})
	if err != nil {
		return nil, err
	}
	proportion.Color = gray
	proportion.Dashes = []vg.Length{vg.Points(4), vg.Points(4)}
	to.Add(proportion)
	to.Legend.Add("in proportion to the size", proportion)
	maxY = max(maxY, minY*maxX/minX)
	to.X.Min, to.X.Max = decadesAround(minX, maxX)
	to.Y.Min, to.Y.Max = decadesAround(minY, maxY)
	to.Y.Max *= math.Pow10(1 + len(p)/3) // room for the legend
	return to, nil
}

// bounds are the least and the most of all points.
func (p panel) bounds() (minX, maxX, minY, maxY float64) {
	var xs, ys []float64
	for _, s := range p {
		for _, at := range s.Points {
			xs, ys = append(xs, at.X), append(ys, at.Y)
		}
	}
	return slices.Min(xs), slices.Max(xs), slices.Min(ys), slices.Max(ys)
}

// decadesAround are the powers of ten at and beyond two values.
func decadesAround(least, most float64) (from, to float64) {
	low, high := math.Floor(math.Log10(least)), math.Ceil(math.Log10(most))
	if low == high {
		high++
	}
	return math.Pow10(int(low)), math.Pow10(int(high))
}

// decades marks the powers of ten, and the steps between them without a word.
func decades(from, to float64) (ticks []plot.Tick) {
	for e := int(math.Floor(math.Log10(from))); ; e++ {
		for step := 1; step < 10; step++ {
			value := float64(step) * math.Pow10(e)
			if value > to*1.001 {
				return ticks
			}
			tick := plot.Tick{Value: value}
			if step == 1 {
				tick.Label = number(value)
			}
			ticks = append(ticks, tick)
		}
	}
}

// number writes a power of ten as a person reads it: 10,000.
func number(v float64) string {
	text := strconv.FormatFloat(v, 'f', -1, 64)
	if v < 1000 {
		return text
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
