/** A document for people, written once and shown as Markdown, as one HTML page that needs nothing else, and on a terminal. */

export type Block =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'list'; readonly items: readonly string[] }
  | { readonly kind: 'table'; readonly head: readonly string[]; readonly rows: readonly (readonly string[])[] }
  /** A PNG; Markdown names the file beside it, HTML holds it. */
  | { readonly kind: 'picture'; readonly file: string; readonly alt: string; readonly png: Uint8Array }
  | { readonly kind: 'heading'; readonly text: string };

export interface Section {
  readonly title: string;
  readonly blocks: readonly Block[];
}

export interface Document {
  readonly title: string;
  readonly lead: readonly Block[];
  readonly sections: readonly Section[];
}

export const text = (content: string): Block => ({ kind: 'text', text: content });
export const list = (...items: readonly string[]): Block => ({ kind: 'list', items });
export const table = (head: readonly string[], rows: readonly (readonly string[])[]): Block => ({ kind: 'table', head, rows }); // prettier-ignore

/** What most sections are: paragraphs, and at most one table behind them. */
export interface Said {
  readonly title: string;
  readonly paragraphs: readonly string[];
  readonly table?: { readonly head: readonly string[]; readonly rows: readonly (readonly string[])[] };
}

export const sectionOf = ({ title, paragraphs, table: t }: Said): Section => ({
  title,
  blocks: [...paragraphs.map(text), ...(t ? [table(t.head, t.rows)] : [])],
});

/** Names come from policies: what Markdown or HTML would take for its own is taken from them. */
const plain = (content: string): string => content.replaceAll(/[\\`*[<]/g, '\\$&');

export function markdown({ title, lead, sections }: Document): string {
  const parts = [`# ${plain(title)}`, ...lead.map(blockMarkdown)];
  for (const section of sections) parts.push(`## ${plain(section.title)}`, ...section.blocks.map(blockMarkdown));
  return `${parts.join('\n\n')}\n`;
}

function blockMarkdown(block: Block): string {
  switch (block.kind) {
    case 'text':
      return plain(block.text);
    case 'heading':
      return `### ${plain(block.text)}`;
    case 'list':
      return block.items.map((item) => `- ${plain(item)}`).join('\n');
    case 'picture':
      return `![${plain(block.alt)}](${block.file})`;
    case 'table': {
      // A bar or a line break in a name would end its cell.
      const cell = (content: string) => plain(content).replaceAll(/\s+/g, ' ').replaceAll('|', '\\|');
      const row = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`;
      return [row(block.head), `| ${block.head.map(() => '---').join(' | ')} |`, ...block.rows.map(row)].join('\n');
    }
  }
}

export const escapeHtml = (content: string): string =>
  content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

export function html({ title, lead, sections }: Document): string {
  const body = sections.map((s) => `<h2>${escapeHtml(s.title)}</h2>\n${s.blocks.map(blockHtml).join('\n')}`);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escapeHtml(title)}</title>
<style>${STYLE}</style></head>
<body><h1>${escapeHtml(title)}</h1>
${lead.map(blockHtml).join('\n')}
${body.join('\n')}
</body></html>
`;
}

function blockHtml(block: Block): string {
  switch (block.kind) {
    case 'text':
      return `<p>${escapeHtml(block.text)}</p>`;
    case 'heading':
      return `<h3>${escapeHtml(block.text)}</h3>`;
    case 'list':
      return `<ul>${block.items.map((item) => `<li>${escapeHtml(item)}</li>`).join('')}</ul>`;
    case 'picture':
      return `<img alt="${escapeHtml(block.alt)}" src="data:image/png;base64,${Buffer.from(block.png).toString('base64')}">`;
    case 'table': {
      const cells = (tag: 'th' | 'td', row: readonly string[]) =>
        row.map((c) => `<${tag}>${escapeHtml(c)}</${tag}>`).join('');
      return `<table><tr>${cells('th', block.head)}</tr>${block.rows.map((row) => `<tr>${cells('td', row)}</tr>`).join('')}</table>`;
    }
  }
}

const STYLE = `body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
h2{margin-top:2.2rem;border-bottom:1px solid #ddd;padding-bottom:.2rem}h3{font-size:1rem;margin:1.2rem 0 .1rem}h3+p{margin-top:0}
table{border-collapse:collapse;margin:.8rem 0;font-size:.95rem}td,th{border:1px solid #bbb;padding:.25rem .75rem;text-align:left;vertical-align:top}
img{max-width:100%}p,td,li{overflow-wrap:anywhere}
@media print{body{max-width:none;margin:0}h2,h3{break-after:avoid}}`;

/** The same for a terminal: columns in line, paragraphs wrapped, pictures left out. Control characters in names are shown as "?". */
export function terminal(sections: readonly Section[], width = 100): string {
  const safe = (content: string) => content.replaceAll(/\p{Cc}/gu, '?');
  const lines = (content: string, first = '  ', next = first) =>
    wrapped(safe(content), width - first.length).map((line, i) => `${i === 0 ? first : next}${line}`);
  const blockLines = (block: Block): string[] => {
    switch (block.kind) {
      case 'text':
      case 'heading':
        return lines(block.text);
      case 'list':
        return block.items.flatMap((item) => lines(item, '  - ', '    '));
      case 'picture':
        return [];
      case 'table': {
        const all = [block.head, ...block.rows].map((row) => row.map(safe));
        const widths = block.head.map((_, c) => Math.max(...all.map((row) => row[c].length)));
        return all.map((row) => `  ${row.map((cell, c) => cell.padEnd(widths[c])).join('  ')}`.trimEnd());
      }
    }
  };
  return sections.map(({ title, blocks }) => [safe(title), ...blocks.flatMap(blockLines)].join('\n')).join('\n\n');
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
