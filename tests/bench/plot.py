"""The plot of bench.py: bars of server CPU beside the yardstick, and curves of the scaling rows.
SVG, written by hand."""

from html import escape

WIDTH, LEFT, RIGHT, LINE = 960, 330, 110, 24
OURS, OTHER, INK, FAINT = '#2563eb', '#9ca3af', '#111827', '#e5e7eb'
COLOURS = {'epoll': OURS, 'poll': '#d97706'}


def text(x, y, words, anchor='start', size=13, colour=INK):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
            f'fill="{colour}">{escape(words)}</text>')


def bars(results, top):
    """A bar for each row with a ratio: 1 is the yardstick, or the plain reader; a tick is the target."""
    rows = [r for r in results['rows'] if 'server_us' in r['ratio']]
    if not rows:
        return [], top
    most = max(1.2, *(r['ratio']['server_us'] for r in rows))
    scale = (WIDTH - LEFT - RIGHT) / most
    title = 'Server CPU for each unit of work, the yardstick (or the plain reader) being 1'
    out = [text(20, top + 18, title, size=16)]
    y = top + 36
    for r in rows:
        ratio = r['ratio']['server_us']
        out.append(text(LEFT - 10, y + 13, r['name'], 'end'))
        out.append(f'<rect x="{LEFT}" y="{y + 2}" width="{ratio * scale:.1f}" height="{LINE - 8}" '
                   f'fill="{OURS}"/>')
        out.append(text(LEFT + max(ratio, r['target'] or 0) * scale + 6, y + 14,
                        f'{ratio:.2f}  ({r["ours"]["server_us"]:.3g} us)', size=12))
        if r['target']:
            x = LEFT + r['target'] * scale
            out.append(f'<line x1="{x:.1f}" y1="{y - 1}" x2="{x:.1f}" y2="{y + LINE - 4}" '
                       f'stroke="#dc2626" stroke-width="2"/>')
        y += LINE
    x = LEFT + scale
    out.insert(1, f'<line x1="{x:.1f}" y1="{top + 32}" x2="{x:.1f}" y2="{y}" stroke="{OTHER}" '
                  f'stroke-dasharray="4 3"/>')
    out.append(text(20, y + 16, 'red: the target', size=12, colour='#dc2626'))
    return out, y + 40


def curve(out, points, colour, place, most_x, most_y, box):
    x0, y0, width, height = box
    where = [(x0 + width * x / most_x, y0 + height - height * y / most_y) for x, y in points]
    path = ' '.join(f'{x:.1f},{y:.1f}' for x, y in where)
    out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
    for (x, y), (_, value) in zip(where, points):
        out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
        out.append(text(x, y - 8, f'{value:,.0f}', 'middle', 11, colour))
    out.append(text(x0 + width + 8, where[-1][1] + 4, place, size=12, colour=colour))


def axes(out, title, ticks, box):
    x0, y0, width, height = box
    out.append(text(20, y0 - 18, title, size=16))
    out.append(f'<path d="M{x0} {y0}V{y0 + height}H{x0 + width}" fill="none" stroke="{INK}"/>')
    for x, words in ticks:
        out.append(f'<line x1="{x0 + width * x:.1f}" y1="{y0}" x2="{x0 + width * x:.1f}" '
                   f'y2="{y0 + height}" stroke="{FAINT}"/>')
        out.append(text(x0 + width * x, y0 + height + 16, words, 'middle', 11))


def scaling(results, top):
    """Microseconds of one event against idle connections, for poll and epoll."""
    series = {}
    for r in results['rows']:
        if r['group'] == 'scaling':
            _, conns, backend = r['name'].split(', ')
            count = float(conns.split()[0].replace(',', ''))
            series.setdefault(backend, []).append((count, r['ours']['server_us']))
    if not series:
        return [], top
    box = (80, top + 50, 720, 220)
    most_x = max(x for points in series.values() for x, _ in points)
    most_y = 1.15 * max(y for points in series.values() for _, y in points)
    out = []
    axes(out, 'Server microseconds for one event, beside so many idle connections',
         [(x / most_x, f'{x:,.0f}') for x, _ in next(iter(series.values()))], box)
    for backend, points in series.items():
        curve(out, points, COLOURS[backend], backend, most_x, most_y, box)
    return out, top + 320


def million(results, top):
    """Nanoseconds of one event against readers without sockets, the readers in powers of ten."""
    rows = {int(k): v for k, v in results.get('million', {}).items() if isinstance(v, dict)}
    if not rows:
        return [], top
    box = (80, top + 50, 720, 220)
    position = {count: i + 1 for i, count in enumerate(sorted(rows))}
    most_y = 1.15 * max(max(v['event_ns'], v['sweep_ns']) for v in rows.values())
    out = []
    axes(out, 'Nanoseconds, beside so many readers without sockets',
         [(p / len(rows), f'{count:,}') for count, p in position.items()], box)
    for key, place, colour in (('event_ns', 'an event', OURS), ('sweep_ns', 'a heartbeat', OTHER)):
        curve(out, [(position[c], rows[c][key]) for c in sorted(rows)], colour, place, len(rows),
              most_y, box)
    return out, top + 320


def plot(results):
    """The whole picture as text."""
    out, top = [], 40
    for part in bars, scaling, million:
        lines, top = part(results, top)
        out += lines
    words = ', '.join(f'{k} {v}' for k, v in results['machine'].items()
                      if k in ('processor', 'kernel', 'congestion control', 'when'))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + 10}" '
            f'font-family="sans-serif"><rect width="{WIDTH}" height="{top + 10}" fill="white"/>\n' +
            text(20, 24, words, size=12, colour='#6b7280') + '\n' + '\n'.join(out) + '\n</svg>\n')
