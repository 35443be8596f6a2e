interface NotFoundProps {
  title: string;
  /** Why there is nothing. */
  text: string;
}

/** Says that there is nothing at this address, and leads back. */
export function NotFound({ title, text }: NotFoundProps) {
  return (
    <div class="page gate">
      <h1>{title}</h1>
      <p class="lead-more">{text}</p>
      <p>
        <a href="#/chat">Back to the start</a>
      </p>
    </div>
  );
}
