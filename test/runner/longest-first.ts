import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * The order in which projects begin: what waits for servers and browsers while there is other work, and at the end the
 * many small files, so that no processor waits for the last of the long ones.
 */
const PROJECTS = ['e2e', 'simulation', 'workerd-alone', 'workerd', 'edge', 'client', 'page', 'simulator', 'timing'];

/** The files that take longest, by a measured run. The size says it of the others. */
const LONGEST = [
  'test/e2e/page/chat.test.ts',
  'test/e2e/page/parts.test.ts',
  'test/e2e/page/operator.test.ts',
  'test/e2e/toolkit.test.ts',
  'test/e2e/page/truth.test.ts',
  'test/e2e/page/looks.test.ts',
  'test/simulation/batch-crowd.test.ts',
  'test/simulation/pool.test.ts',
  'test/simulation/conversation.test.ts',
  'test/edge/app/bad-input.test.ts',
  'test/edge/conversations/object/damaged-rows.test.ts',
  'test/edge/claude/ways.test.ts',
  'test/edge/plugins/runs/run-memory.test.ts',
  'test/edge/plugins/agents/apply-agent.test.ts',
  'test/edge/claude/failover.test.ts',
  'test/edge/plugins/batches/batch-kills.test.ts',
  'test/simulator/batches/batches-api.test.ts',
  'test/edge/kit/json/edit.test.ts',
  'test/edge/claude/request/request-body.test.ts',
  'test/edge/kit/http/body/piece-reader.test.ts',
];

/** A seed shuffles the files instead: what depends on their order fails then, and fails again with the same seed. */
const { SHUFFLE } = process.env;

/** Orders files by their projects, and within one the longest first; or as the seed in `SHUFFLE` draws. */
export class LongestFirst extends BaseSequencer {
  /**
   * @param files those of a run, of several projects
   * @throws Error where a file of the list is not there any more
   */
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const { root } = this.ctx.config;
    const gone = LONGEST.filter((path) => !existsSync(join(root, path)));
    if (gone.length > 0) throw new Error(`${gone.join(', ')}: take it out of test/runner/longest-first.ts.`);
    const place = (list: readonly string[], name: string) => (list.includes(name) ? list.indexOf(name) : list.length);
    const drawn = ({ moduleId }: TestSpecification) =>
      createHash('sha256')
        .update(`${SHUFFLE} ${relative(root, moduleId)}`)
        .digest()
        .readUInt32BE();
    const length = ({ moduleId }: TestSpecification) => place(LONGEST, relative(root, moduleId));
    const order = SHUFFLE === undefined ? length : drawn;
    if (SHUFFLE !== undefined) process.stdout.write(`\n The files of each project are shuffled: SHUFFLE=${SHUFFLE}\n`);
    const bySize = await super.sort(files);
    return bySize.sort(
      (one, other) =>
        place(PROJECTS, one.project.name) - place(PROJECTS, other.project.name) || order(one) - order(other),
    );
  }
}
