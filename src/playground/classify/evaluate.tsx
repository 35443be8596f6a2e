import { useSignal } from '@preact/signals';
import type { Evaluation } from '../../client/index.ts';
import { refreshQuota } from '../edge/account.ts';
import { useAction } from '../edge/async-action.ts';
import { edge } from '../edge/client.ts';
import { announce } from '../ui/announcer.tsx';
import { SmallButton } from '../ui/button.tsx';
import { exampleName } from '../ui/example-name.ts';
import { Fault } from '../ui/fault.tsx';
import { Form, Select, SubmitButton, TextArea } from '../ui/form.tsx';
import { EvaluationReport } from './evaluation-report.tsx';
import { classifiers, fill, store, stored } from './form.ts';
import { SAMPLES, TICKET_EXAMPLES } from './samples.ts';

const EXAMPLE_DESCRIPTION = 'Classifies twelve tickets, to try the evaluation';

/** Evaluates a stored classifier on texts whose labels are known. */
export function Evaluate() {
  const name = useSignal('');
  const examples = useSignal('');
  const report = useSignal<Evaluation | undefined>(undefined);
  const { busy, fault, run: attempt } = useAction();
  const chosen = name.value || stored.value || classifiers.value[0]?.name || '';
  const run = (classifier: string) =>
    attempt(async () => {
      report.value = undefined;
      report.value = await edge().classifiers.evaluate(classifier, { examples: examplesIn(examples.value) });
      announce('The evaluation is complete.');
      await refreshQuota();
    });
  const runSample = async () => {
    const [tickets] = SAMPLES;
    if (!tickets) return;
    fill(tickets);
    examples.value = TICKET_EXAMPLES;
    const example = exampleName('tickets', EXAMPLE_DESCRIPTION, classifiers.value);
    name.value = example;
    if (await store(example, EXAMPLE_DESCRIPTION)) await run(example);
  };
  const names = classifiers.value.map((row) => row.name);
  return (
    <section class="stack evaluate" aria-labelledby="evaluate">
      <header class="apart page-head">
        <h2 id="evaluate">How good is a classifier?</h2>
        <SmallButton name="Try it with twelve tickets" disabled={busy.value} onClick={() => void runSample()} />
      </header>
      <Form onSubmit={() => void run(chosen)}>
        <label class="labelled">
          Stored classifier
          <Select
            required
            value={chosen}
            options={names.length === 0 ? [['', 'Store a classifier first']] : names}
            onChoose={(value) => (name.value = value)}
          />
        </label>
        <TextArea
          label="Examples, one per line: the right label, a colon, the text"
          rows={6}
          placeholder="bug: The app crashes when I open the map."
          value={examples}
        />
        <p class="row">
          <SubmitButton name={busy.value ? 'Evaluating…' : 'Evaluate'} disabled={busy.value || chosen === ''} />
        </p>
      </Form>
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
