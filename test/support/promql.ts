/** What an expression selects, with the labels it matches, and the labels it groups by. */
export type Asked = {
  readonly selectors: readonly { readonly metric: string; readonly labels: readonly string[] }[];
  readonly groupedBy: readonly string[];
};

/** As much of PromQL as our expressions have; whether they are PromQL at all promtool knows. */
export function readPromQl(text: string): Asked {
  const groups = [...text.matchAll(GROUPING)].flatMap(([, labels = '']) => labels.split(','));
  const selectors = [...text.replace(GROUPING, '').matchAll(SELECTOR)].map(([, metric = '', matchers = '']) => ({
    metric,
    labels: [...matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label = '']) => label),
  }));
  return { selectors, groupedBy: groups.map((label) => label.trim()) };
}

const GROUPING = /\b(?:by|without|on|ignoring)\s*\(([^)]*)\)/g;
/** Every word that is no operator, and no function, which has parentheses. */
const SELECTOR = /\b(?!(?:and|or|unless|bool|offset)\b)([a-z]\w*)\b(?!\s*\()(?:\{([^}]*)\})?/g;

/** The series of a scrape: metric → its labels. Buckets, sum and count of a histogram are metrics of their own. */
export type Series = ReadonlyMap<string, ReadonlySet<string>>;

export function readScrape(text: string): Series {
  const series = new Map<string, Set<string>>();
  for (const [, metric = '', type] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    for (const part of type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''])
      series.set(metric + part, new Set());
  }
  for (const [, metric = '', labels = ''] of text.matchAll(/^(\w+)\{(.*)\} \S+$/gm)) {
    for (const [, label = ''] of labels.matchAll(/(\w+)="(?:[^"\\]|\\.)*"/g)) series.get(metric)?.add(label);
  }
  return series;
}

/** What an expression names that a scrape does not have; labels Prometheus adds by itself are known. */
export function findUnknown({ selectors, groupedBy }: Asked, series: Series): string[] {
  const added = ['job', 'instance'];
  const known = new Set([...added, ...selectors.flatMap(({ metric }) => [...(series.get(metric) ?? [])])]);
  return [
    ...selectors.filter(({ metric }) => !series.has(metric)).map(({ metric }) => metric),
    ...selectors.flatMap(({ metric, labels }) =>
      labels
        .filter((label) => !added.includes(label) && !series.get(metric)?.has(label))
        .map((label) => `${metric}{${label}}`),
    ),
    ...groupedBy.filter((label) => !known.has(label)),
  ];
}
