import { Icon } from '../../ui/icon.tsx';
import { Markdown } from '../../ui/markdown.tsx';
import { pictureAddress } from '../composer/images.ts';
import type { Part } from '../session/content.ts';

interface MessagePartProps {
  part: Part;
  /** The result of a tool's call. */
  result: Part | undefined;
  /** Whether the text is shown as it was typed, without Markdown. */
  plain: boolean;
  growing: boolean;
}

/** Shows one content block. */
export function MessagePart({ part, result, plain, growing }: MessagePartProps) {
  switch (part.type) {
    case 'text':
      return plain ? <p class="typed">{String(part.text)}</p> : <Markdown text={String(part.text)} />;
    case 'thinking':
      return (
        <details class="aside">
          <summary>{growing ? 'Thinking…' : 'Thought'}</summary>
          <p class="typed">{String(part.thinking) || 'What was thought is not shown.'}</p>
        </details>
      );
    case 'redacted_thinking':
      return <p class="quiet aside-note">Thought, in a form that only Claude can read.</p>;
    case 'image': {
      const address = pictureAddress(part);
      return address ? (
        <img class="picture" src={address} alt="Sent with the message" />
      ) : (
        <p class="quiet aside-note">A picture that is kept elsewhere.</p>
      );
    }
    case 'tool_use':
    case 'server_tool_use':
      return (
        <details class="aside call">
          <summary>
            <Icon name="tool" />
            <code>{String(part.name)}</code>
            <span>
              {result || part.type === 'server_tool_use'
                ? 'called'
                : growing
                  ? 'is being called'
                  : 'waits for its result'}
            </span>
          </summary>
          <dl>
            <dt class="quiet">Input</dt>
            <dd>
              <code>{JSON.stringify(part.input)}</code>
            </dd>
            {result && (
              <>
                <dt class="quiet">{result.is_error ? 'Error' : 'Result'}</dt>
                <dd>
                  <code>{typeof result.content === 'string' ? result.content : JSON.stringify(result.content)}</code>
                </dd>
              </>
            )}
          </dl>
        </details>
      );
    default:
      return (
        <details class="aside">
          <summary>
            <code>{part.type}</code>
          </summary>
          <pre class="raw">{JSON.stringify(part, undefined, 2)}</pre>
        </details>
      );
  }
}
