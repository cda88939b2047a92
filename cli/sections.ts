/** Paragraphs and tables of a report, as Markdown, as one self-contained page, and for a terminal. */

export interface Section {
  readonly title: string;
  readonly paragraphs: readonly string[];
  readonly table?: { readonly head: readonly string[]; readonly rows: readonly (readonly string[])[] };
}

/** A share as people read it; NaN is a class that the test set lacks. */
export const percent = (x: number): string => (Number.isNaN(x) ? 'none in the test set' : `${(100 * x).toFixed(1)} %`);

/** Sections under a heading of the first level and an opening paragraph. */
export function sectionsMarkdown(title: string, opening: string, sections: readonly Section[]): string {
  const blocks = sections.map(({ title: heading, paragraphs, table }) => {
    const lines = [`## ${heading}`, ...paragraphs];
    if (table) {
      // A bar or a line break in a name would end its cell.
      const cell = (text: string) => text.replaceAll(/\s+/g, ' ').replaceAll('|', '\\|');
      const row = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`;
      lines.push([row(table.head), row(table.head.map(() => '---')), ...table.rows.map(row)].join('\n'));
    }
    return lines.join('\n\n');
  });
  return `# ${title}\n\n${opening}\n\n${blocks.join('\n\n')}\n`;
}

const escape = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** The same as one page. @param picture - a PNG shown below the opening, with its description. */
export function sectionsHtml(
  title: string,
  opening: string,
  sections: readonly Section[],
  picture?: { readonly png: Uint8Array; readonly shows: string },
): string {
  const cells = (tag: 'th' | 'td', row: readonly string[]) => row.map((c) => `<${tag}>${escape(c)}</${tag}>`).join('');
  const body = sections.map(({ title: heading, paragraphs, table }) => {
    const rows = table?.rows.map((row) => `<tr>${cells('td', row)}</tr>`).join('') ?? '';
    const grid = table ? `<table><tr>${cells('th', table.head)}</tr>${rows}</table>` : '';
    return `<h2>${escape(heading)}</h2>${paragraphs.map((p) => `<p>${escape(p)}</p>`).join('')}${grid}`;
  });
  const image = picture
    ? `<img alt="${escape(picture.shows)}" src="data:image/png;base64,${Buffer.from(picture.png).toString('base64')}">`
    : '';
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escape(title)}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:.25rem .75rem;text-align:left}
img{max-width:100%}p{overflow-wrap:anywhere}</style></head>
<body><h1>${escape(title)}</h1><p>${escape(opening)}</p>${image}
${body.join('\n')}
</body></html>
`;
}

/** The same for a terminal: columns in line, paragraphs wrapped. Control characters in names are shown as "?". */
export function sectionsText(sections: readonly Section[], width = 100): string {
  const plain = (text: string) => text.replaceAll(/\p{Cc}/gu, '?');
  return sections
    .map(({ title, paragraphs, table }) => {
      const lines = [title, ...paragraphs.flatMap((p) => wrapped(plain(p), width - 2).map((line) => `  ${line}`))];
      if (table) {
        const all = [table.head, ...table.rows].map((row) => row.map(plain));
        const widths = table.head.map((_, c) => Math.max(...all.map((row) => row[c].length)));
        for (const row of all) lines.push(`  ${row.map((cell, c) => cell.padEnd(widths[c])).join('  ')}`.trimEnd());
      }
      return lines.join('\n');
    })
    .join('\n\n');
}

function wrapped(text: string, width: number): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines[lines.length - 1];
    if (last !== '' && last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
  }
  return lines;
}
