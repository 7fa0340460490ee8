package backup

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/expression"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Table is storage for items. Reads are strongly consistent within the Region.
// All methods may be called side by side; a repeated call does no harm.
type Table interface {
	// Get returns the items that exist. With headOnly their Content is empty.
	Get(ctx context.Context, keys []Key, headOnly bool) (map[Key]Item, error)
	// Put stores the item if the stored one still is what expect says, and tells
	// whether it was.
	Put(ctx context.Context, item Item, expect Expectation) (bool, error)
	// Delete removes the item under the same condition.
	Delete(ctx context.Context, key Key, expect Expectation) (bool, error)
	// Query returns all items of a partition whose type starts with prefix, in
	// the order of their types.
	Query(ctx context.Context, id, prefix string) ([]Item, error)
	// Scan returns a page of one of the segments into which the table is divided,
	// from just after the key on, partition by partition, types in order. Next is
	// nil at the end of the segment.
	Scan(ctx context.Context, segment Segment, after *Key) (items []Item, next *Key, err error)
}

// Segment is part Index of Of parts of the table.
type Segment struct{ Index, Of int }

// Expectation is the condition of a write.
type Expectation struct {
	absent    bool
	any       bool
	validFrom string
	deletedAt string
}

// Absent expects that there is no such item.
func Absent() Expectation { return Expectation{absent: true} }

// Anything expects nothing. It is for items whose key and content follow from
// what is stored already, so that a repeated write stores the same.
func Anything() Expectation { return Expectation{any: true} }

// Unchanged expects the stored item to be the one that was read: the same
// ValidFrom and DeletedAt.
func Unchanged(i *Item) Expectation {
	return Expectation{validFrom: i.ValidFrom, deletedAt: i.DeletedAt}
}

// DynamoDBAPI is what the table needs of DynamoDB.
type DynamoDBAPI interface {
	BatchGetItem(context.Context, *dynamodb.BatchGetItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error)
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	DeleteItem(context.Context, *dynamodb.DeleteItemInput, ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error)
	Query(context.Context, *dynamodb.QueryInput, ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
	Scan(context.Context, *dynamodb.ScanInput, ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error)
}

// DynamoDB is the backup table in DynamoDB.
type DynamoDB struct {
	API   DynamoDBAPI
	Name  string
	Sleep func(context.Context, time.Duration) error
}

var _ Table = (*DynamoDB)(nil)

const (
	batchGetLimit = 100 // keys in one BatchGetItem; API reference
	// compressAbove is the content size in bytes from which it is stored
	// compressed. An item holds 400 KB (service quota), and 50 custom attributes
	// of 2,048 characters alone may take that much.
	compressAbove = 200_000
)

type stored struct {
	Key
	Content    string `dynamodbav:"content,omitempty"`
	Compressed []byte `dynamodbav:"compressed,omitempty"`
	Hash       string `dynamodbav:"hash,omitempty"`
	ValidFrom  string `dynamodbav:"validFrom,omitempty"`
	ValidTo    string `dynamodbav:"validTo,omitempty"`
	DeletedAt  string `dynamodbav:"deletedAt,omitempty"`
}

func marshal(i *Item) (map[string]types.AttributeValue, error) {
	s := stored{Key: i.Key, Hash: i.Hash, ValidFrom: i.ValidFrom, ValidTo: i.ValidTo, DeletedAt: i.DeletedAt}
	if len(i.Content) <= compressAbove {
		s.Content = string(i.Content)
	} else {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(i.Content); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		s.Compressed = b.Bytes()
	}
	return attributevalue.MarshalMap(s)
}

func unmarshal(av map[string]types.AttributeValue) (Item, error) {
	var s stored
	if err := attributevalue.UnmarshalMap(av, &s); err != nil {
		return Item{}, fmt.Errorf("decode an item of the backup table: %w", err)
	}
	i := Item{Key: s.Key, Content: []byte(s.Content), Hash: s.Hash, ValidFrom: s.ValidFrom, ValidTo: s.ValidTo, DeletedAt: s.DeletedAt}
	if len(s.Compressed) > 0 {
		r, err := gzip.NewReader(bytes.NewReader(s.Compressed))
		if err == nil {
			i.Content, err = io.ReadAll(r)
		}
		if err != nil {
			return Item{}, fmt.Errorf("decompress a %s record: %w", i.Kind(), err)
		}
	}
	return i, nil
}

func marshalKey(k Key) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{
		"id": &types.AttributeValueMemberS{Value: k.ID}, "type": &types.AttributeValueMemberS{Value: k.Type},
	}
}

func unmarshalKey(av map[string]types.AttributeValue) (*Key, error) {
	if len(av) == 0 {
		return nil, nil
	}
	k := new(Key)
	if err := attributevalue.UnmarshalMap(av, k); err != nil {
		return nil, fmt.Errorf("decode a key of the backup table: %w", err)
	}
	return k, nil
}

func unmarshalAll(avs []map[string]types.AttributeValue) ([]Item, error) {
	items := make([]Item, 0, len(avs))
	for _, av := range avs {
		item, err := unmarshal(av)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

// Get reads in batches; keys that DynamoDB left unprocessed are asked for again.
func (t *DynamoDB) Get(ctx context.Context, keys []Key, headOnly bool) (map[Key]Item, error) {
	found := make(map[Key]Item, len(keys))
	pending := make([]map[string]types.AttributeValue, 0, len(keys))
	asked := make(map[Key]bool, len(keys)) // BatchGetItem refuses a key named twice
	for _, k := range keys {
		if !asked[k] {
			asked[k] = true
			pending = append(pending, marshalKey(k))
		}
	}
	for attempt := 0; len(pending) > 0; {
		n := min(len(pending), batchGetLimit)
		request := types.KeysAndAttributes{Keys: pending[:n], ConsistentRead: aws.Bool(true)}
		if headOnly {
			request.ProjectionExpression = aws.String("#id, #type, #hash, validFrom, validTo, deletedAt")
			request.ExpressionAttributeNames = map[string]string{"#id": "id", "#type": "type", "#hash": "hash"}
		}
		out, err := t.API.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{t.Name: request}})
		if err != nil {
			return nil, fmt.Errorf("read %d records: %w", n, err)
		}
		items, err := unmarshalAll(out.Responses[t.Name])
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			found[item.Key] = item
		}
		unprocessed := out.UnprocessedKeys[t.Name].Keys
		pending = append(pending[n:len(pending):len(pending)], unprocessed...)
		if len(unprocessed) == 0 {
			attempt = 0
			continue
		}
		if err := t.Sleep(ctx, backoff(attempt)); err != nil {
			return nil, fmt.Errorf("read %d records that DynamoDB left unprocessed: %w", len(unprocessed), err)
		}
		attempt++
	}
	return found, nil
}

// backoff is how long to wait before asking again for what DynamoDB left
// unprocessed: 50 ms, doubled up to 3.2 s.
func backoff(attempt int) time.Duration { return 50 * time.Millisecond << min(attempt, 6) }

// Met says whether the stored item, if there is one, is as expected.
func (e Expectation) Met(stored Item, exists bool) bool {
	switch {
	case e.any:
		return true
	case e.absent:
		return !exists
	default:
		return exists && stored.ValidFrom == e.validFrom && stored.DeletedAt == e.deletedAt
	}
}

func (e Expectation) condition() expression.ConditionBuilder {
	if e.absent {
		return expression.AttributeNotExists(expression.Name("id"))
	}
	c := expression.Name("validFrom").Equal(expression.Value(e.validFrom))
	if e.deletedAt != "" {
		return c.And(expression.Name("deletedAt").Equal(expression.Value(e.deletedAt)))
	}
	return c.And(expression.AttributeNotExists(expression.Name("deletedAt")))
}

// Put stores an item under a condition.
func (t *DynamoDB) Put(ctx context.Context, item Item, expect Expectation) (bool, error) {
	av, err := marshal(&item)
	if err != nil {
		return false, fmt.Errorf("encode a %s record: %w", item.Kind(), err)
	}
	in := &dynamodb.PutItemInput{TableName: &t.Name, Item: av}
	if !expect.any {
		e, err := expression.NewBuilder().WithCondition(expect.condition()).Build()
		if err != nil {
			return false, err
		}
		in.ConditionExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues = e.Condition(), e.Names(), e.Values()
	}
	_, err = t.API.PutItem(ctx, in)
	return written(err, "store", item.Key)
}

// Delete removes an item under a condition.
func (t *DynamoDB) Delete(ctx context.Context, key Key, expect Expectation) (bool, error) {
	in := &dynamodb.DeleteItemInput{TableName: &t.Name, Key: marshalKey(key)}
	if !expect.any {
		e, err := expression.NewBuilder().WithCondition(expect.condition()).Build()
		if err != nil {
			return false, err
		}
		in.ConditionExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues = e.Condition(), e.Names(), e.Values()
	}
	_, err := t.API.DeleteItem(ctx, in)
	return written(err, "remove", key)
}

func written(err error, verb string, key Key) (bool, error) {
	if changed := new(types.ConditionalCheckFailedException); errors.As(err, &changed) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s a %s record: %w", verb, key.Kind(), err)
	}
	return true, nil
}

// Query reads a partition.
func (t *DynamoDB) Query(ctx context.Context, id, prefix string) ([]Item, error) {
	key := expression.Key("id").Equal(expression.Value(id))
	if prefix != "" {
		key = key.And(expression.Key("type").BeginsWith(prefix))
	}
	e, err := expression.NewBuilder().WithKeyCondition(key).Build()
	if err != nil {
		return nil, err
	}
	pages := dynamodb.NewQueryPaginator(t.API, &dynamodb.QueryInput{
		TableName: &t.Name, ConsistentRead: aws.Bool(true), KeyConditionExpression: e.KeyCondition(),
		ExpressionAttributeNames: e.Names(), ExpressionAttributeValues: e.Values(),
	})
	var items []Item
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("query %s records: %w", Key{ID: id}.Kind(), err)
		}
		read, err := unmarshalAll(page.Items)
		if err != nil {
			return nil, err
		}
		items = append(items, read...)
	}
	return items, nil
}

// Scan reads a page of a segment.
func (t *DynamoDB) Scan(ctx context.Context, segment Segment, after *Key) ([]Item, *Key, error) {
	in := &dynamodb.ScanInput{TableName: &t.Name, ConsistentRead: aws.Bool(true)}
	if segment.Of > 1 {
		in.Segment, in.TotalSegments = aws.Int32(int32(segment.Index)), aws.Int32(int32(segment.Of))
	}
	if after != nil {
		in.ExclusiveStartKey = marshalKey(*after)
	}
	out, err := t.API.Scan(ctx, in)
	if err != nil {
		return nil, nil, fmt.Errorf("scan segment %d of the backup table: %w", segment.Index, err)
	}
	items, err := unmarshalAll(out.Items)
	if err != nil {
		return nil, nil, err
	}
	next, err := unmarshalKey(out.LastEvaluatedKey)
	return items, next, err
}
