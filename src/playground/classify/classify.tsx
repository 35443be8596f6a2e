import { useEffect } from 'preact/hooks';
import { sentenceOf } from '../edge/client.ts';
import { ClassifyForm } from './classify-form.tsx';
import { Evaluate } from './evaluate.tsx';
import { fill, formFault, refreshClassifiers, run } from './form.ts';
import { Result } from './result.tsx';
import { SAMPLES } from './samples.ts';

export function Classify() {
  useEffect(() => {
    refreshClassifiers().catch((thrown: unknown) => {
      formFault.value = sentenceOf(thrown);
    });
  }, []);
  return (
    <div class="page classify">
      <header class="stack">
        <h1>Classify</h1>
        <p class="lead-more">Give a text and labels; one of the labels comes back, never anything else.</p>
        <p class="row">
          {SAMPLES.map((sample) => (
            <button
              key={sample.title}
              type="button"
              class="button small plain"
              onClick={() => {
                fill(sample);
                void run();
              }}
            >
              {sample.title}
            </button>
          ))}
        </p>
      </header>
      <div class="classify-columns">
        <ClassifyForm />
        <Result />
      </div>
      <Evaluate />
    </div>
  );
}
