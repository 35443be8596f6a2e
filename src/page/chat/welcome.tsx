import { agents } from '../edge/agents.ts';
import { useAsyncAction } from '../edge/async-action.ts';
import { FaultMessage } from '../ui/fault.tsx';
import { EXAMPLES } from './examples.ts';
import { chosenAgent } from './session/options.ts';

/** Shows a newcomer what this is, with examples to click; or the agent that is chosen. */
export function Welcome() {
  const { isBusy: busy, fault, run } = useAsyncAction();
  if (chosenAgent.value !== '') {
    const description = agents.value?.find(({ name }) => name === chosenAgent.value)?.description;
    return (
      <div class="welcome">
        <div class="column">
          <p class="lead">Try {chosenAgent.value}.</p>
          <p class="lead-more">
            {description && `${description}. `}The agent responds with the prompt, tools and limits of its current
            version.
          </p>
        </div>
      </div>
    );
  }
  return (
    <div class="welcome">
      <div class="column">
        <p class="lead">Your own gateway to Claude.</p>
        <p class="lead-more">
          Your key stays on the server, every user can have limits that hold, and responses survive lost connections.
          Try it:
        </p>
        <ul class="examples">
          {EXAMPLES.filter(({ isAvailable }) => isAvailable?.() ?? true).map((example) => (
            <li key={example.title}>
              <button
                type="button"
                class="panel example"
                disabled={busy.value}
                onClick={() => void run(example.runExample)}
              >
                <strong>{example.title}</strong>
                <span class="quiet">{example.description}</span>
              </button>
            </li>
          ))}
        </ul>
        {fault.value && <FaultMessage text={fault.value} />}
      </div>
    </div>
  );
}
