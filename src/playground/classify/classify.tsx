import { useEffect } from 'preact/hooks';
import { sentenceOf } from '../edge/client.ts';
import { SmallButton } from '../ui/button.tsx';
import { ClassifyForm } from './classify-form.tsx';
import { classifySample, formFault, refreshClassifiers } from './form.ts';
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
        <p class="lead-more">Enter a text and some labels. You get one of the labels back, never anything else.</p>
        <p class="row">
          {SAMPLES.map((sample) => (
            <SmallButton key={sample.title} name={sample.title} onClick={() => void classifySample(sample)} />
          ))}
        </p>
      </header>
      <div class="classify-columns">
        <ClassifyForm />
        <Result />
      </div>
    </div>
  );
}
