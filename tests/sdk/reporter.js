// One line per case and a sum, in the words of `cargo test`, which the runner counts.

export default async function* reporter(source) {
  let passed = 0;
  let failed = 0;
  for await (const { type, data } of source) {
    // Files are reported as tests of their own; a file that does not load is a failure.
    const isFile = data?.name?.endsWith('.test.js');
    if (type === 'test:pass' && !isFile) {
      passed += 1;
      yield `test sdk::${data.name} ... ok\n`;
    } else if (type === 'test:fail' && !(isFile && data.details?.error?.failureType === 'subtestsFailed')) {
      failed += 1;
      const error = data.details?.error;
      yield `test sdk::${data.name} ... FAILED\n${describe(error?.cause ?? error)}\n`;
    } else if (type === 'test:stderr' || type === 'test:stdout') {
      yield data.message;
    }
  }
  const verdict = failed === 0 && passed > 0 ? 'ok' : 'FAILED';
  yield `\ntest result: ${verdict}. ${passed} passed; ${failed} failed; 0 ignored\n`;
}

// The libraries wrap their errors; what the store answered is at the end of the chain.
function describe(error) {
  const lines = [];
  for (let one = error; one && lines.length < 10; one = one.cause) {
    lines.push(`    ${one.stack ?? one}`);
    const answer = one.response?.data ?? one.responseText;
    if (answer) lines.push(`    answer: ${typeof answer === 'string' ? answer : JSON.stringify(answer)}`);
  }
  return lines.join('\n');
}
