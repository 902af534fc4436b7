import { parser } from '@prometheus-io/lezer-promql';

/** What an expression selects. */
export type Selector = { readonly metric: string; readonly matchers: readonly Matcher[] };
export type Matcher = { readonly label: string; readonly op: string; readonly value: string };
export type Asked = { readonly selectors: readonly Selector[]; readonly groupedBy: readonly string[] };

/** By Prometheus's own grammar. @throws Error where the text is no PromQL */
export function readPromQl(text: string): Asked {
  const selectors: { metric: string; matchers: Matcher[] }[] = [];
  const groupedBy: string[] = [];
  const matcher = { label: '', op: '' };
  parser.parse(text).iterate({
    enter: (node) => {
      const { type, from, to } = node;
      const source = text.slice(from, to);
      if (type.isError) throw new Error(`no PromQL at ${from}: ${text}`);
      if (type.name === 'VectorSelector') selectors.push({ metric: '', matchers: [] });
      const selector = selectors.at(-1);
      if (type.name === 'Identifier' && node.matchContext(['VectorSelector']) && selector) selector.metric = source;
      if (type.name === 'LabelName' && node.matchContext(['GroupingLabels'])) groupedBy.push(source);
      if (type.name === 'LabelName' && node.matchContext(['UnquotedLabelMatcher'])) matcher.label = source;
      if (type.name === 'MatchOp') matcher.op = source;
      if (type.name === 'StringLiteral' && node.matchContext(['UnquotedLabelMatcher'])) {
        selector?.matchers.push({ ...matcher, value: source.slice(1, -1) });
      }
    },
  });
  return { selectors, groupedBy };
}

/** The series of a scrape: metric → label → values. Buckets, sum and count of a histogram are metrics of their own. */
export type Series = ReadonlyMap<string, ReadonlyMap<string, ReadonlySet<string>>>;

export function readScrape(text: string): Series {
  const series = new Map<string, Map<string, Set<string>>>();
  const labelsOf = (metric: string) => {
    const labels = series.get(metric) ?? new Map<string, Set<string>>();
    series.set(metric, labels);
    return labels;
  };
  for (const line of text.split('\n')) {
    const [, declared = '', type] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? [];
    if (type !== undefined) {
      const parts = type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
      for (const part of parts) labelsOf(declared + part);
    }
    const [, metric = '', labels = ''] = /^(\w+)(?:\{(.*)\})? \S+$/.exec(line) ?? [];
    if (metric === '') continue;
    for (const [, label = '', value = ''] of labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      const known = labelsOf(metric);
      known.set(label, (known.get(label) ?? new Set()).add(value));
    }
  }
  return series;
}

/** What an expression names that a scrape does not have; labels Prometheus adds by itself are known. */
export function findUnknown({ selectors, groupedBy }: Asked, series: Series): string[] {
  const added = new Set(['job', 'instance']);
  const labels = new Set([...added, ...selectors.flatMap(({ metric }) => [...(series.get(metric)?.keys() ?? [])])]);
  return [
    ...selectors.filter(({ metric }) => !series.has(metric)).map(({ metric }) => metric),
    ...selectors.flatMap(({ metric, matchers }) =>
      matchers
        .filter(({ label }) => !added.has(label) && !series.get(metric)?.has(label))
        .map(({ label }) => `${metric}{${label}}`),
    ),
    ...groupedBy.filter((label) => !labels.has(label)),
  ];
}
