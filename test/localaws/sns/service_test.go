package sns_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/smithy-go"

	"cognito-backup/test/localaws/model/modeltest"
	"cognito-backup/test/localaws/sns"
	"cognito-backup/test/localaws/wire"
)

const region = "eu-west-1"

func start(t *testing.T) (*sns.Service, *sdk.Client) {
	t.Helper()
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	service := sns.New(region, &wire.Clock{Offset: func() time.Duration { return time.Until(now) }})
	return service, sdk.New(sdk.Options{
		Region:           region,
		BaseEndpoint:     aws.String(modeltest.Serve(t, "sns", region, service)),
		Credentials:      credentials.NewStaticCredentialsProvider("AKID", "SECRET", ""),
		RetryMaxAttempts: 1,
	})
}

func TestPublish(t *testing.T) {
	ctx := context.Background()
	service, client := start(t)
	created, err := client.CreateTopic(ctx, &sdk.CreateTopicInput{
		Name:       aws.String("Backup-Notifications"),
		Attributes: map[string]string{"DisplayName": "Backup <&> Co"},
		Tags:       []types.Tag{{Key: aws.String("team"), Value: aws.String("identity")}, {Key: aws.String("cost"), Value: aws.String("1")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "arn:aws:sns:eu-west-1:123456789012:Backup-Notifications"; *created.TopicArn != want {
		t.Errorf("topic %s, want %s", *created.TopicArn, want)
	}
	for _, address := range []string{"ada@example.com", "bob@example.com", "ada@example.com"} {
		if _, err := client.Subscribe(ctx, &sdk.SubscribeInput{TopicArn: created.TopicArn, Protocol: aws.String("email"), Endpoint: &address}); err != nil {
			t.Fatal(err)
		}
	}
	var seen []string
	service.OnMail(func(m sns.Mail) { seen = append(seen, m.To) })

	message := "Export finished: 500 users\n\n<&> + % = ü 🎉"
	published, err := client.Publish(ctx, &sdk.PublishInput{TopicArn: created.TopicArn, Subject: aws.String("Export finished"), Message: &message,
		MessageAttributes: map[string]types.MessageAttributeValue{"kind": {DataType: aws.String("String"), StringValue: aws.String("info")}}})
	if err != nil {
		t.Fatal(err)
	}
	mails := service.Outbox()
	if len(mails) != 2 {
		t.Fatalf("%d mails, want one for each of two addresses: %+v", len(mails), mails)
	}
	for i, to := range []string{"ada@example.com", "bob@example.com"} {
		m := mails[i]
		if m.To != to || m.Subject != "Export finished" || m.Message != message || m.TopicArn != *created.TopicArn || m.MessageId != *published.MessageId || m.Confirmation {
			t.Errorf("mail %d: %+v", i, m)
		}
		if d := m.Time.Sub(time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)); d < -time.Second || d > time.Second {
			t.Errorf("mail %d was sent at %s", i, m.Time)
		}
	}
	if got := strings.Join(seen, " "); got != "ada@example.com bob@example.com" {
		t.Errorf("OnMail saw %s", got)
	}

	attributes, err := client.GetTopicAttributes(ctx, &sdk.GetTopicAttributesInput{TopicArn: created.TopicArn})
	if err != nil {
		t.Fatal(err)
	}
	if got := attributes.Attributes; got["DisplayName"] != "Backup <&> Co" || got["SubscriptionsConfirmed"] != "2" || got["SubscriptionsPending"] != "0" {
		t.Errorf("attributes %v", got)
	}
	if _, err := client.Publish(ctx, &sdk.PublishInput{TargetArn: created.TopicArn, Message: aws.String("no subject")}); err != nil {
		t.Fatal(err)
	}
	if m := service.Outbox()[2]; m.Subject != "AWS Notification Message" {
		t.Errorf("subject %q", m.Subject)
	}
	if _, err := client.Publish(ctx, &sdk.PublishInput{TopicArn: created.TopicArn, MessageStructure: aws.String("json"), Message: aws.String(`{"default":"d","email":"e"}`)}); err != nil {
		t.Fatal(err)
	}
	if m := service.Outbox()[4]; m.Message != "e" {
		t.Errorf("message %q", m.Message)
	}
}

func TestRefusedMessages(t *testing.T) {
	ctx := context.Background()
	service, client := start(t)
	arn, err := service.Create("T", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := service.Subscribe(arn, "email", "ada@example.com"); err != nil {
		t.Fatal(err)
	}
	publish := func(topic, subject, message string) error {
		_, err := client.Publish(ctx, &sdk.PublishInput{TopicArn: &topic, Subject: &subject, Message: &message})
		return err
	}
	long := strings.Repeat("m", 256<<10)
	tests := []struct{ name, topic, subject, message, code, text string }{
		{"99 characters", arn, strings.Repeat("s", 99), "m", "", ""},
		{"100 characters", arn, strings.Repeat("s", 100), "m", "InvalidParameter", "Invalid parameter: Subject"},
		{"not ASCII", arn, "Exportiert: für alle", "m", "InvalidParameter", "Invalid parameter: Subject"},
		{"line break", arn, "a\nb", "m", "InvalidParameter", "Invalid parameter: Subject"},
		{"control character", arn, "a\x7fb", "m", "InvalidParameter", "Invalid parameter: Subject"},
		{"starts with a space", arn, " a", "m", "InvalidParameter", "Invalid parameter: Subject"},
		{"longest message", arn, "s", long, "", ""},
		{"too long a message", arn, "s", long + "m", "InvalidParameter", "Invalid parameter: Message too long"},
		{"bytes count", arn, "s", strings.Repeat("ü", 128<<10) + "m", "InvalidParameter", "Invalid parameter: Message too long"},
		{"empty message", arn, "s", "", "InvalidParameter", "Invalid parameter: Empty message"},
		{"no such topic", arn + "2", "s", "m", "NotFound", "Topic does not exist"},
		{"no ARN", "T", "s", "m", "InvalidParameter", "Invalid parameter: TopicArn Reason: An ARN must have at least 6 elements, not 1"},
	}
	sent := 0
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := publish(tt.topic, tt.subject, tt.message)
			if tt.code == "" {
				sent++
				if err != nil {
					t.Error(err)
				}
				return
			}
			var apiError smithy.APIError
			if !errors.As(err, &apiError) || apiError.ErrorCode() != tt.code || apiError.ErrorMessage() != tt.text {
				t.Errorf("got %v, want %s: %s", err, tt.code, tt.text)
			}
		})
	}
	if got := len(service.Outbox()); got != sent {
		t.Errorf("%d mails went out, want %d", got, sent)
	}
	var notFound *types.NotFoundException
	if err := publish(arn+"2", "s", "m"); !errors.As(err, &notFound) {
		t.Errorf("got %T %v, want the SDK's NotFoundException", err, err)
	}
	if _, err := client.Subscribe(ctx, &sdk.SubscribeInput{TopicArn: &arn, Protocol: aws.String("sqs"), Endpoint: aws.String("arn:aws:sqs:a:b:c:d")}); err == nil {
		t.Error("a protocol that nobody delivers by is accepted")
	}
}

func TestConfirmation(t *testing.T) {
	ctx := context.Background()
	service, client := start(t)
	service.RequireConfirmation()
	arn, err := service.Create("T", nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := client.Subscribe(ctx, &sdk.SubscribeInput{TopicArn: &arn, Protocol: aws.String("email"), Endpoint: aws.String("ada@example.com")})
	if err != nil {
		t.Fatal(err)
	}
	if *out.SubscriptionArn != "pending confirmation" {
		t.Errorf("subscription %s", *out.SubscriptionArn)
	}
	publish := func() {
		t.Helper()
		if _, err := client.Publish(ctx, &sdk.PublishInput{TopicArn: &arn, Message: aws.String("m")}); err != nil {
			t.Fatal(err)
		}
	}
	publish()
	if mails := service.Outbox(); len(mails) != 1 || !mails[0].Confirmation {
		t.Errorf("an unconfirmed address got %+v", mails)
	}
	list, err := client.ListSubscriptionsByTopic(ctx, &sdk.ListSubscriptionsByTopicInput{TopicArn: &arn})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Subscriptions) != 1 || *list.Subscriptions[0].SubscriptionArn != "PendingConfirmation" {
		t.Errorf("subscriptions %+v", list.Subscriptions)
	}
	if n := service.Confirm("ada@example.com"); n != 1 {
		t.Errorf("%d subscriptions confirmed", n)
	}
	publish()
	if mails := service.Outbox(); len(mails) != 2 || mails[1].Confirmation {
		t.Errorf("a confirmed address got %+v", mails)
	}
}

func TestListSubscriptionsPages(t *testing.T) {
	ctx := context.Background()
	service, client := start(t)
	arn, err := service.Create("T", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 230 {
		if _, err := service.Subscribe(arn, "email", fmt.Sprintf("user%d@example.com", i)); err != nil {
			t.Fatal(err)
		}
	}
	var pages []int
	seen := map[string]bool{}
	paginator := sdk.NewListSubscriptionsByTopicPaginator(client, &sdk.ListSubscriptionsByTopicInput{TopicArn: &arn})
	for paginator.HasMorePages() {
		page, err := paginator.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, len(page.Subscriptions))
		for _, sub := range page.Subscriptions {
			seen[*sub.Endpoint] = true
			if !strings.HasPrefix(*sub.SubscriptionArn, arn+":") || *sub.Owner != wire.Account || *sub.Protocol != "email" {
				t.Fatalf("subscription %+v", sub)
			}
		}
	}
	if fmt.Sprint(pages) != "[100 100 30]" || len(seen) != 230 {
		t.Errorf("pages %v with %d addresses", pages, len(seen))
	}
}

func TestPermissions(t *testing.T) {
	service := sns.New(region, nil)
	const key = "arn:aws:kms:eu-west-1:123456789012:key/1"
	arn, err := service.Create("T", map[string]string{"KmsMasterKeyId": key})
	if err != nil {
		t.Fatal(err)
	}
	got := service.Permissions(&wire.Call{Operation: "Publish", Input: []byte(`{"TopicArn":"` + arn + `"}`)})
	want := []wire.Permission{{Action: "sns:Publish", Resource: arn}, {Action: "kms:GenerateDataKey", Resource: key}, {Action: "kms:Decrypt", Resource: key}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
