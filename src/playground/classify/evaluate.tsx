import { useSignal } from '@preact/signals';
import type { Evaluation } from '../../client/index.ts';
import { refreshStanding } from '../edge/account.ts';
import { edge, sentenceOf } from '../edge/client.ts';
import { announce } from '../ui/announcer.tsx';
import { Fault } from '../ui/fault.tsx';
import { EvaluationReport } from './evaluation-report.tsx';
import { classifiers, fill, store, stored } from './form.ts';
import { SAMPLES, TICKET_EXAMPLES } from './samples.ts';

const EXAMPLE_NAME = 'tickets';

/** Evaluates a stored classifier on texts whose labels are known. */
export function Evaluate() {
  const name = useSignal('');
  const examples = useSignal('');
  const report = useSignal<Evaluation | undefined>(undefined);
  const fault = useSignal<string | undefined>(undefined);
  const busy = useSignal(false);
  const chosen = name.value || stored.value || classifiers.value[0]?.name || '';
  const run = async (classifier: string) => {
    busy.value = true;
    fault.value = undefined;
    report.value = undefined;
    try {
      report.value = await edge().classifiers.evaluate(classifier, { examples: examplesIn(examples.value) });
      announce('The evaluation is complete.');
      await refreshStanding();
    } catch (thrown) {
      fault.value = sentenceOf(thrown);
    } finally {
      busy.value = false;
    }
  };
  const runSample = async () => {
    const [tickets] = SAMPLES;
    if (!tickets) return;
    fill(tickets);
    examples.value = TICKET_EXAMPLES;
    name.value = EXAMPLE_NAME;
    if (await store(EXAMPLE_NAME)) await run(EXAMPLE_NAME);
  };
  return (
    <section class="stack evaluate" aria-labelledby="evaluate">
      <header class="page-head">
        <h2 id="evaluate">How good is a classifier?</h2>
        <button
          type="button"
          class="button small plain"
          disabled={busy.value}
          onClick={() => {
            void runSample();
          }}
        >
          Try it with twelve tickets
        </button>
      </header>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void run(chosen);
        }}
      >
        <label class="labelled">
          Stored classifier
          <select
            required
            value={chosen}
            onChange={(event) => {
              name.value = event.currentTarget.value;
            }}
          >
            {classifiers.value.length === 0 && <option value="">Store one first</option>}
            {classifiers.value.map((row) => (
              <option key={row.name} value={row.name}>
                {row.name}
              </option>
            ))}
          </select>
        </label>
        <label class="labelled">
          Examples: a line each, the right label and the text
          <textarea
            rows={6}
            required
            placeholder="bug: The app crashes when I open the map."
            value={examples.value}
            onInput={(event) => (examples.value = event.currentTarget.value)}
          />
        </label>
        <p class="row">
          <button type="submit" class="button" disabled={busy.value || chosen === ''}>
            {busy.value ? 'Evaluating…' : 'Evaluate'}
          </button>
        </p>
      </form>
      {fault.value && <Fault text={fault.value} />}
      {report.value?.candidates.map((candidate) => (
        <EvaluationReport key={candidate.version + candidate.model} report={candidate} />
      ))}
    </section>
  );
}

function examplesIn(text: string) {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return lines.map((line) => {
    const at = line.indexOf(':');
    return { label: line.slice(0, Math.max(0, at)).trim() || null, input: line.slice(at + 1).trim() };
  });
}
