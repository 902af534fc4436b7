/** Ends a run with a list of what was skipped: a skipped test carries its reason in its name. */
export default class SkipReporter {
  onRunComplete(_contexts, { testResults }) {
    const skipped = testResults.flatMap(({ testResults: tests }) => tests.filter(({ status }) => status === 'pending'));
    const names = new Set(skipped.flatMap(({ ancestorTitles, title }) => [...ancestorTitles, title].filter(hasReason)));
    for (const name of names) process.stdout.write(`${name}\n`);
  }
}

/** Tests left out by `-t` carry none. */
function hasReason(title) {
  return title.includes('(skipped:');
}
