import type { Reporter, TestModule } from 'vitest/node';

/** Ends a run with a line that programs can read: `N passed, N failed`. */
export default class CountingReporter implements Reporter {
  /** @param errors what failed outside of any test */
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const count = (state: 'passed' | 'failed') => tests.filter((test) => test.result().state === state).length;
    // A file that cannot be read has no tests that could fail.
    const broken = modules.filter((module) => module.state() === 'failed' && module.errors().length > 0).length;
    process.stdout.write(`${count('passed')} passed, ${count('failed') + broken + errors.length} failed\n`);
  }
}
